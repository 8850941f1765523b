"""What Lab 7's cells do with real models, beside the stages."""
