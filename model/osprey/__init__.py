"""Osprey (arXiv 2312.10032): mask in, words out.

processor.py        picture -> square, normalised pixels
vision.py           ConvNeXt tower -> res2..res5
mask_extractor.py   masks + levels -> a mask token and a position token for each region
prompt.py           templates, and how a prompt becomes token ids
attention.py        attention over a shared prefix and a row's own part, joined as one softmax
language.py         the Llama's layers: prefixes that grow, an output head only where needed
prefix_cache.py     prefixes kept for later questions
prefill.py          prefixes of images and prompts, of which only what is new is run
decoding.py         one decoding batch for regions of many images
engine.py           keeps the batch full; halves it where memory runs out
graphs.py           its steps as CUDA graphs over static memory
memory.py           how many rows fit
model.py            the parts together, splicing, the training loss
checkpoint.py       the released folder layout, read and written
asks.py             what goes into the captioner and comes out
captioner.py        encode, prefill, describe
"""

import model.torchvision_ops  # noqa: F401  (before transformers and timm import torchvision)
