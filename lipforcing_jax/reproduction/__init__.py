"""The whole recipe at nano size by one command: trainings, comparison, and the report."""
