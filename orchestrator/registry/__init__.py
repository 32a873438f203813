"""Data that is read once at start (manifests of arms, prompts, recipes, models), and the code that reads manifests."""
