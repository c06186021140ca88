"""The local cloud: two object stores, an emulated AWS, and the product applied to it for real."""
