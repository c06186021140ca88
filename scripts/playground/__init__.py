"""The local cloud: two object stores, an emulated AWS between them, and the product applied to it for real."""
