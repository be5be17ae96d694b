"""What training and inference read: phantoms made on the fly, and lists of cases on disk."""
