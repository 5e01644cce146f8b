"""What makes chunks findable, and nothing else: embedding spaces, vectors, term statistics, postings."""
