"""Where jobs run: each executor renders a job as text (pure) and submits it."""
