"""The press: how the book is made. It runs chapters, builds the site, exports notebooks and checks all three.

`press` knows nothing of models; `dgm` knows nothing of `press`.
"""
