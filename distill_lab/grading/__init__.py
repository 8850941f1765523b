"""`distill-lab grade LAB SUBMISSIONS --out DIR`: marks, feedback and an overview of a class."""
