"""Osprey (arXiv 2312.10032): mask in, words out.

processor.py        picture -> square, normalised pixels
vision.py           ConvNeXt tower -> res2..res5
mask_extractor.py   masks + levels -> a mask token and a position token for each region
prompt.py           templates, and how a prompt becomes token ids
language.py         Llama decoding over one shared prefix that is never copied
model.py            the parts together, splicing, the training loss
checkpoint.py       the released folder layout, read and written
captioner.py        encode, prefill, describe
"""

import model.torchvision_ops  # noqa: F401  (before transformers and timm import torchvision)
