"""The CRT transport: requests over awscrt, at a fraction of the CPU time of boto3, and streams.

It follows the rules of `transport/`. The Lambda function has neither awscrt nor streams.
"""
