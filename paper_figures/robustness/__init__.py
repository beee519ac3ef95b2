"""Nine laws of the input: does a similarity from weights predict what models do on their own inputs?"""
