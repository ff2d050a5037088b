"""A note is its sentence, and carries what it means."""

import copy
import dataclasses
import pickle

import pytest

from keras_det.data.notes import Note


def test_note_is_its_sentence():
    note = Note("boxes-clipped", "2 of 9 boxes clipped", 2, 9, "a.xml, object 1", "Look at them.")
    sentence = "2 of 9 boxes clipped (first: a.xml, object 1). Look at them."
    assert note == sentence and hash(note) == hash(sentence)
    assert f"{note}" == " ".join([note]) == sentence and repr(note) == repr(sentence)
    assert type(str(note)) is str and note.count("boxes") == 1
    assert Note("no-object", "No object.") == "No object."
    assert Note("no-object", "No object.", more="So.") == "No object. So."


def test_copies_keep_what_it_means():
    note = Note("boxes-clipped", "2 of 9 boxes clipped", 2, 9, "a.xml, object 1", "Look.")
    for other in (copy.copy(note), copy.deepcopy(note), pickle.loads(pickle.dumps(note))):
        assert other == note
        assert [getattr(other, field.name) for field in dataclasses.fields(Note)] == [
            "boxes-clipped", "2 of 9 boxes clipped", 2, 9, "a.xml, object 1", "Look."
        ]  # fmt: skip


def test_note_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError, match="code"):
        Note("no-object", "No object.").code = "all-crowd"
