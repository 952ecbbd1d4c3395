"""CSM-SR, the subject of the benchmark: a conditional, structure-informed, multi-scale adversarial network.

Built from the authors' project page (https://github.com/aaivu/CSM-SR), not from their released code, which
differs from it and feeds the network features of the HR image. Here the network sees the LR image only.
Where the published text is silent, each file says what was chosen and why.

* ``model``: registration, variants.
* ``encoder``: conditioning features of the LR image (EfficientNet).
* ``blocks``, ``generator``: dense blocks, the three branches, reconstruction.
* ``fusion``: adaptive feature fusion.
* ``gradient_branch``: an extension, a second branch for the gradients of the image.
* ``discriminator``: multi-scale PatchGAN.
* ``objective``, ``schedule``: the Semantic Structural Loss and how its weights follow the training.
* ``recipe``: the three training stages.

The released code is reproduced, mistakes included, in variants of that name and nowhere else:

* ``released``, ``released_blocks``: its three generators; ``oracle`` conditions on HR as its authors do.
* ``released_encoder``: EfficientNet-B7, frozen.
* ``released_discriminator``, ``released_losses``, ``released_recipe``: how it trains them.
"""
