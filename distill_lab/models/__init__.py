"""Loading, changing and saving models, and what runs them."""
