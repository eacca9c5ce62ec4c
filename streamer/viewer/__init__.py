"""A web application over what a run has stored: film, masks, words, search, questions.

It knows no model: questions go through the contract in `asking`, which the command fills in.
"""
