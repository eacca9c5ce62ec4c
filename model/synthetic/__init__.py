"""The procedural world: pictures, masks, words and films, all from a seed.

palette.py   eleven basic colours and which of them a region has
shapes.py    the categories, their parts and outlines
strangers.py shapes that are no category
sprites.py   one object drawn with its texture
backdrop.py  what lies behind the objects, and the light over it
scene.py     a picture with exact masks and attributes
captions.py  attributes -> words, and back
film.py      objects that move, cross, enter and leave, with the truth of every frame
"""
