"""Seeds and subsets: a fine-tuning difference of one model, recognised along the training of another."""
