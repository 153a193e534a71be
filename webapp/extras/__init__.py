"""What Hamlet can do beyond the five steps: each package has init_app(app), and the core imports none of them."""
