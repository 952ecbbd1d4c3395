"""From scores to intervals, tests, rankings and the leaderboard."""
