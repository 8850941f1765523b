"""Small models and trainings, for answers that work on one: they are made where the student's code
runs."""
