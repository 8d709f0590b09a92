"""What scores need to know of in-distribution images, found in one streaming pass of the network over them.

abet fit --checkpoint weights/abet-cityscapes --dataset cityscapes
"""

from abet.fit.run import Fit

__all__ = ["Fit"]
