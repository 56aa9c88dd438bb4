# Keys in the memory of a backend: in pages that are locked, left out of core dumps and wiped in forked children; the
# root key nowhere once it was used.
#
# Promised: keys at rest in a backend live in those pages only, and the root key is wiped after each use. Not promised:
# protection from whoever may read a running backend's memory (he finds data keys there, as this test does), and from
# copies that the processor's registers leave on the stack for a moment while a key is in use.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# From a variable: the postmaster's environment would hold the key. From a file: nothing but the backend reads it.
my $node   = new_node('memory');
my ($root) = slurp_file(root_key_path($node)) =~ /(\w+)/;
$node->safe_psql('postgres', q{
	select encrypt.create_key('default');
	create table t as select encrypt.encrypt_column('plaintext') as value;
});

# Mappings of a process: range, flags, name.
sub mappings
{
	my ($pid) = @_;
	my @mappings;
	# Addresses have more than 32 bits.
	no warnings 'portable';
	for (split /\n/, slurp_file("/proc/$pid/smaps"))
	{
		if (/^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+\s*(.*)/)
		{
			push @mappings, { from => hex $1, to => hex $2, mode => $3, name => $4, flags => {} };
		}
		elsif (/^VmFlags: (.*)/)
		{
			$mappings[-1]{flags} = { map { $_ => 1 } split ' ', $1 };
		}
	}
	return @mappings;
}

sub protected
{
	my ($mapping) = @_;
	return $mapping->{flags}{dd} && $mapping->{flags}{wf};
}

# Mappings whose memory holds one of the strings; undef if the system does not let us look.
sub mappings_with
{
	my ($pid, @strings) = @_;
	open my $memory, '<:raw', "/proc/$pid/mem" or return;
	my @found;
	for my $mapping (grep { $_->{mode} =~ /^rw/ } mappings($pid))
	{
		sysseek($memory, $mapping->{from}, 0) or next;
		my ($content, $left) = ('', $mapping->{to} - $mapping->{from});
		while ($left > 0)
		{
			my $n = sysread($memory, $content, $left, length $content) or last;
			$left -= $n;
		}
		push @found, $mapping if grep { index($content, $_) >= 0 } @strings;
	}
	return \@found;
}

my $session = session($node);
my $pid     = backend_pid($session);
is(scalar(grep { protected($_) } mappings($pid)), 0, 'a session without keys has no pages for keys');
$session->query_safe(q{
	select encrypt.decrypt_column(value) from t;
	select encrypt.encrypt_column('x'), encrypt.blind_index('x')});

my @pages = grep { protected($_) } mappings($pid);
cmp_ok(scalar @pages, '>', 0, 'a session with keys has pages that are not dumped (dd) and wiped on fork (wf)');
is(scalar(grep { $_->{mode} !~ /^rw-p/ } @pages), 0, 'private ones');
SKIP:
{
	my ($limit) = slurp_file("/proc/$pid/limits") =~ /^Max locked memory\s+(\S+)/m;
	skip "RLIMIT_MEMLOCK is $limit", 1 if $limit ne 'unlimited' && $limit < 256 * 1024;
	is(scalar(grep { !$_->{flags}{lo} } @pages), 0, 'and locked (lo)');
}

my @root_forms = (pack('H*', $root), $root, uc $root);
my $found = mappings_with($pid, @root_forms);
SKIP:
{
	skip 'the memory of other processes is not readable here', 5 unless $found;
	is_deeply([ map { $_->{name} || 'anonymous' } @$found ], [], 'the root key is nowhere in the session once used');

	# That the search works: the statement's text is there.
	my $text = random_hex(16);
	session_start($session, "select pg_sleep(60) /* $text */");
	$node->poll_query_until('postgres', "select state = 'active' from pg_stat_activity where pid = $pid");
	cmp_ok(scalar @{ mappings_with($pid, $text) }, '>', 0, 'the search finds what is in memory');
	$node->safe_psql('postgres', "select pg_cancel_backend($pid)");
	$session->query('');

	# Nor after it made keys, failed to open values, and rotated.
	$session->query(q{
		select encrypt.create_key('second');
		select encrypt.rotate_key('second');
		select encrypt.decrypt_column(value, 'wrong context') from t});
	$found = mappings_with($pid, @root_forms);
	is_deeply([ map { $_->{name} || 'anonymous' } @$found ], [], 'nor after it made keys and rotated them');

	skip 'no Python with the package "cryptography"', 2 unless $ENV{PG_ENCRYPT_PYTHON};
	my @key = split /\n/, $node->safe_psql('postgres', q{
		select concat_ws(e'\t', 'key', key_id, purpose, encode(wrapped_key, 'hex'), encode(check_value, 'hex'), root_id)
		from encrypt.keys where name = 'default' and purpose = 'column'});
	my $id = (split /\t/, $key[0])[1];
	my ($in, $out) = ("$key[0]\ndek\t$id\n", '');
	IPC::Run::run([ $ENV{PG_ENCRYPT_PYTHON}, 'lib/reference_peer.py', $root ], '<', \$in, '>', \$out) or die 'reference';
	my ($dek) = $out =~ /^([0-9a-f]{64})$/m;
	$found = mappings_with($pid, pack('H*', $dek));
	cmp_ok(scalar(grep { protected($_) } @$found), '>', 0, 'the data key is in the protected pages');
	is_deeply([ map { $_->{name} || 'anonymous' } grep { !protected($_) } @$found ], [], 'and in no others');
}
$session->quit;
$node->stop;
done_testing();
