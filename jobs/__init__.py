"""What runs where: one description per job, and executors that render and submit it. Imports no torch.

python -m jobs submit mapillary_pretrain --dry-run
"""
