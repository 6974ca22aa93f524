"""The client of a hub that runs elsewhere: it believes nothing that it has not verified."""
