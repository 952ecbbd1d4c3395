"""The networks of the code that the authors of CSM-SR released."""
