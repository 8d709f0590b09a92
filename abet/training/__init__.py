"""Training: what a run's state is, how it is committed, owned and resumed."""
