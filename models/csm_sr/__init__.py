"""CSM-SR, the subject of the benchmark: a conditional, structure-informed, multi-scale adversarial network.

Built from the authors' project page (https://github.com/aaivu/CSM-SR), not from their released code, which
differs from it and feeds the network features of the HR image. Here the network sees the LR image only. Where
the published text is silent, each class says what was chosen and why. The released code is reproduced,
mistakes included, in the variants of that name and nowhere else.
"""
