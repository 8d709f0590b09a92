"""How well a score separates OOD from ID pixels, and how well classes are told apart.

``pixel``       streaming, mergeable counts of every pixel in bounded memory
``ranking``     AUROC, AP and FPR95 of such counts, each with a bracket that contains the exact value
``curves``      the same counts as drawable ROC, precision-recall and histogram lists
``reference``   the paper's 100-bin protocol, for comparison with published tables
``smiyc``, ``components``   SegmentMeIfYouCan's pixel protocol, and whether objects are found as objects
``per_image``   means of each image's own figures
``image_counts``, ``bootstrap``   confidence intervals and paired differences, by resampling images
``protocols``   what of these an evaluation can add, as one state
``confusion``   segmentation: an int64 confusion matrix and the mIoU that follows from it
``keys``, ``sorted_keys``, ``runs``, ``exact``   the arithmetic underneath
``tensors``     counting of pixels where a GPU has their scores; the one module here that imports torch
"""
