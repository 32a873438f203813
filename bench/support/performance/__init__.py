"""What bench/task.py is made of: subjects that run plans, counters of what they cost, and the page of the results."""
