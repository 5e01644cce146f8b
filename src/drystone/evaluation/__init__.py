"""How well does search find what people judged relevant? Judgements, runs, measures, their uncertainty, charts.

Pure but for reading and writing its own files: nothing here asks a server. The command line and the benchmarks use it.
"""
