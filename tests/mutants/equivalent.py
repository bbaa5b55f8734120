"""Changes in `rsail.exact` that no test can notice, each with its reason: `sites` leaves them out."""

SEARCHES = {}
EQUIVALENT = {}
