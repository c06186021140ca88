"""Access to the two stores over boto3: clients, credentials and one bucket."""
