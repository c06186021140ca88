"""The fast lane of the command: ordinary objects and listings over awscrt, at a small part of what boto3 costs.

Whatever is not ordinary, or does not go well, is left to the common path, which knows what to make of it: the lane
asks once, judges nothing and reports no failure. Without awscrt, as in Lambda, there is no lane.
"""
