"""What is wrong with a stack and its `.env`: looks and asks, and changes nothing."""
