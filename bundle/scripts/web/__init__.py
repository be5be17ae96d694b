"""The service by HTTP, and the page that uses it."""
