"""Requests about keys and listings over any HTTP client, at a fraction of the CPU time of boto3.

A transport handles ordinary requests and responses only. It makes each request once and judges no response. boto3 makes
every other request, and `stores/request_errors.py` classifies its errors.
"""
