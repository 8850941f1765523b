"""How a study is run: it is read, what cells share is made once, cells are trained and measured."""
