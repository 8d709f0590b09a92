"""The paper's table of semantic segmentation beside our own figures: what is printed there, what is needed here, and
whether the two agree.

    abet reproduce --output runs/reproduction
"""
