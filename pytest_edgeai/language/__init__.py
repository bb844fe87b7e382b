"""Language models: what their files hold, and what they compute, without any engine. Read in workers alone, for the bytes are a user's."""
