import { Component, type ReactNode } from "react";
import { Failure } from "../ui/states";

/** A page that breaks says so; the others go on. */
export class ErrorBoundary extends Component<{ children: ReactNode }, { error?: unknown }> {
  override state: { error?: unknown } = {};

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override render() {
    if (!("error" in this.state)) return this.props.children;
    return <Failure error={this.state.error} retry={() => location.reload()} />;
  }
}
