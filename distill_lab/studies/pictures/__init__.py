"""A study's pictures: each with a title that says what it shows, told from the data.

They look as a run's: 5.2 inches wide, to be read at a phone's width, with labels beside the marks.
"""
