"""What the figures share: jobs, caches, the pipeline from training to picture, and layout."""
