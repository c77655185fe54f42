"""The rows of what the original assistant's documentation says, each with the test that shows it or the heading that meets it."""
