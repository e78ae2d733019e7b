"""What the end-to-end tests share: a running node, its keys, a stand-in for AWS, and data to store."""
