"""A small catalogue of air quality with documents and a year of readings, for whoever wants to see all of it at once.

What is said of substances, limits and instruments is true; the town is invented, and its readings are made by `readings`.
"""
