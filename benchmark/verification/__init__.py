"""Results of others looked at: rows against hashes, weights run again, submissions and their claims."""
