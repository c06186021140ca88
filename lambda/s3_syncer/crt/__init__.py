"""The CRT transport: requests over awscrt, at a fraction of the CPU time of boto3, and streams.

A transport handles ordinary requests and responses only. It makes each request once and judges no response. boto3 makes
every other request, and `stores/bucket.py` classifies its errors. Without awscrt only large objects are streamed. The
Lambda function has no transport.
"""
