// Says what went wrong where a person looks at that moment.

/** Awaits `act`; what it throws is shown in `place`, which is hidden otherwise. Whether it went well. */
export async function fault(place, act) {
  place.hidden = true;
  try {
    await act();
    return true;
  } catch (problem) {
    place.textContent = problem instanceof TypeError ? "The service does not answer." : problem.message;
    place.hidden = false;
    return false;
  }
}
