"""Addition modulo p is memorised first and understood later: what the weights show of it on the way."""
