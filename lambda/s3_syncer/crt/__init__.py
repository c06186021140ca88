"""The fast lane of `migrate` and `serve`: ordinary objects, listings and requests, far cheaper than over boto3.

Whatever is not ordinary, or does not go well, is left to the common path, which knows what to make of it: the lane
asks once, judges nothing and reports no failure. Without awscrt there is no lane, but large objects are streamed all
the same. The function has neither.
"""
